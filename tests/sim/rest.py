"""Coming to rest: no more faults and no more rows, and everything that is under way arrives."""

from __future__ import annotations

from sim.world import UNIT, World

from pctstream.core.block import Source
from pctstream.core.marks import Marks


def drain(world: World) -> None:
    """Until nothing moves; an error if that never happens."""
    world.faults = False
    for zombie in list(world.zombies):
        world.crash(zombie)
    for outlet in world.outlets:
        while outlet.queued:
            outlet.land(world.chance.choice(outlet.queued))
    while world.late_record() or world.bridge():
        pass
    for _ in range(4000 + 2 * world.steps):
        if world.deep:  # else markers are sent again for ever
            world.tell_all()
            for worker in world.workers:
                world.hear(worker)
        moved = go_on(world, set(world.sources)) or report_all(world) or moves_on(world)
        if not moved and not any(author.look_long() for author in world.authors):
            return
        world.check()
    raise AssertionError("rest: it is never reached")


def hasten(world: World) -> None:
    """Everything goes one further, and so do moves: by single steps they would take a thousand."""
    for _ in range(3):
        go_on(world, {s for s in world.sources if s not in world.busy})
    moves_on(world)
    if world.chance.random() < 0.4:
        world.tell_all()


def go_on(world: World, ended: set[Source]) -> bool:
    """One of everything that can happen; whether anything did."""
    moved = world.fatal()
    for author in world.authors:
        moved |= author.step(world.chance, ended)
    for worker in list(world.workers):
        for queue in (worker.wiring, worker.orders):
            while queue:
                queue.popleft()()
                moved = True
        moved |= worker.follow(1000)
        for entry in worker.readable:
            worker.deliver(entry, UNIT)
            moved = True
    moved |= world.guard.go_on()
    for worker in list(world.workers):
        moved |= world.with_key(worker, worker.turn)
    for outlet in [worker.outlet for worker in world.workers]:
        for source in outlet.queued:
            outlet.land(source)
            moved = True
        for source in outlet.unheard:
            outlet.ack(source)
            moved = True
    return moved


def moves_on(world: World) -> bool:
    """Every move goes on to its end; whether there was anything to do for one."""
    for worker in world.workers:
        world.rules.proved(worker.proofs)
    log = world.workers[0].routing
    for move in log.moves.unfinished:
        if move.paused:
            world.order({"do": "resume", "move": move.id})
            return True
    moved = False
    for worker in world.workers:
        while worker.prove():
            moved = True
        moved |= bool(worker.lacking())
        for shard, move in worker.lacking():
            world.begin_copy(worker, shard, move)
            if begun := worker.copies.pop((shard.number, move.portion), None):
                worker.receive(shard, move.portion, begun[1], None)
    for worker in world.workers:
        for move in worker.routing.moves.unfinished:
            for number in {move.source, move.target} & set(worker.shards):
                world.moving[move.id, number] = worker.tell_of(move, number)
    return moved or any(author.wait_long() for author in world.authors)


def report_all(world: World) -> bool:
    """Tell every N0 what every portion has; whether that made anything move."""
    before, crashes = _roots(world), world.crashes
    for worker in list(world.workers):
        worker.hurry()
        while world.with_key(worker, worker.turn):
            pass
    world.tell_all()
    for worker in world.workers:
        world.hear(worker)
        for shard in worker.shards.values():
            for portion in shard.portions:
                saved = shard.store.state(portion.path)
                marks = Marks.from_json([] if saved is None else saved["marks"])
                for other in world.workers:
                    other.report(portion.path, marks)
                world.guard.report(portion.path, marks)
    world.guard.told_all()
    world.guard.go_on()
    for worker in list(world.workers):
        while world.with_key(worker, worker.turn):
            pass
    told = any(worker.wiring or worker.orders for worker in world.workers)
    # a pass that came up in the middle of another was put off
    told |= any(p.waits for w in world.workers for s in w.shards.values() for p in s.copies)
    return told or before != _roots(world) or crashes != world.crashes


def _roots(world: World) -> list[bytes | None]:
    kvs = [*world.kvs.values(), *(kept.kv for kept in world.guard.kept.values())]
    return [kv.get(b"n/N0") for kv in kvs]
