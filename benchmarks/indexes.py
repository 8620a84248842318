"""Other indexes at the same rows, each as its documentation has it; run in `.venv-bench` by `beside.py`.

    hnswlib, usearch   graphs (HNSW), M 16, 200 candidates when built; of those a question looks at, the
                       fewest of 16, 32, .. that reach the recall wanted on these very questions
    lancedb            IVF_FLAT with 256 lists in a table on disk, at the fewest lists; one question a call
    milvus-lite        a collection in a file, in a server of its own that the client starts: IVF_FLAT with
                       256 lists where it can, at the fewest; all questions in one call
    mlpack             `knn` with a cover tree, exact, on at most so many rows (``COVER_ROWS``)

Each gives its ways to be asked and what is told of it; one that is not installed, or fails, says so. What
was built is kept in a folder of its own, where the next run finds it (mlpack's is built anew, in seconds).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

Asked = Callable[[Any], Any]
"""Questions f32[m, d] -> rows i64[m, k]."""
Found = tuple[dict[str, Asked], dict[str, Any]]
LISTS, LINKS, CANDIDATES = 256, 16, 200
COVER_ROWS = 20_000
"""Of mlpack's cover tree: it is built in one thread, in much more than linear time."""


def tuned(
    values: Iterable[int], take: Callable[[int], None], ask: Asked, queries: Any, truth: Any, wanted: float
) -> dict[str, Any]:  # fmt: skip
    """Take the first value with which that recall is reached; the last if none is."""
    reached = value = 0.0
    for value in values:
        take(value)
        found = ask(queries)
        pairs = zip(found.tolist(), truth.tolist(), strict=True)
        reached = float(np.mean([len({*a} & {*b}) / len(b) for a, b in pairs]))
        if reached >= wanted:
            break
    return {"setting": value, "recall": round(reached, 4)}


def of_hnswlib(kept: Path, rows: Any, queries: Any, truth: Any, k: int, wanted: float) -> Found:
    import hnswlib

    index = hnswlib.Index(space="l2", dim=rows.shape[1])
    if (file := kept / "index").exists():
        index.load_index(str(file))
    else:
        index.init_index(len(rows), ef_construction=CANDIDATES, M=LINKS, random_seed=0)
        index.set_num_threads(1)
        index.add_items(rows)
        index.save_index(str(file))
    index.set_num_threads(1)

    def ask(q: Any) -> Any:
        return index.knn_query(q, k, num_threads=1)[0].astype(np.int64)

    return {"hnswlib": ask}, tuned(doubled(), index.set_ef, ask, queries, truth, wanted)


def of_usearch(kept: Path, rows: Any, queries: Any, truth: Any, k: int, wanted: float) -> Found:
    from usearch.index import Index

    index = Index(ndim=rows.shape[1], metric="l2sq", dtype="f32", connectivity=LINKS,
                  expansion_add=CANDIDATES)  # fmt: skip
    if (file := kept / "index").exists():
        index.load(str(file))
    else:
        index.add(np.arange(len(rows)), rows, threads=1)
        index.save(str(file))

    def take(value: int) -> None:
        index.expansion_search = value

    def ask(q: Any) -> Any:
        return index.search(q, k, threads=1).keys.reshape(len(q), -1).astype(np.int64)

    return {"usearch": ask}, tuned(doubled(), take, ask, queries, truth, wanted)


def of_lancedb(kept: Path, rows: Any, queries: Any, truth: Any, k: int, wanted: float) -> Found:
    import lancedb
    import pyarrow as pa

    there = (kept / "rows.lance").exists()
    base = lancedb.connect(str(kept))
    if there:
        table = base.open_table("rows")
    else:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        data = pa.table({"row": np.arange(len(rows)), "vector": vectors})
        table = base.create_table("rows", data)
        table.create_index(
            metric="l2", num_partitions=LISTS, vector_column_name="vector", index_type="IVF_FLAT"
        )
    lists = [1]

    def ask(q: Any) -> Any:
        found = [
            table.search(one)
            .nprobes(lists[0])
            .limit(k)
            .select(["row", "_distance"])
            .to_arrow()["row"]
            .to_pylist()
            for one in q
        ]
        return np.array([(row + [-1] * k)[:k] for row in found], np.int64)

    told = tuned(range(1, 33), lambda n: lists.__setitem__(0, n), ask, queries, truth, wanted)
    return {"lancedb": ask}, told


def of_milvus(kept: Path, rows: Any, queries: Any, truth: Any, k: int, wanted: float) -> Found:
    from pymilvus import DataType, MilvusClient

    client = MilvusClient(str(kept / "rows.db"))
    if not client.has_collection("rows"):
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=rows.shape[1])
        how = client.prepare_index_params()
        how.add_index("vector", index_type="IVF_FLAT", metric_type="L2", params={"nlist": LISTS})
        client.create_collection("rows", schema=schema, index_params=how)
        for begin in range(0, len(rows), 2000):
            some = rows[begin : begin + 2000]
            client.insert("rows", [{"id": begin + i, "vector": v} for i, v in enumerate(some)])
        client.flush("rows")
    client.load_collection("rows")
    lists = [1]

    def ask(q: Any) -> Any:
        asked = {"metric_type": "L2", "params": {"nprobe": lists[0]}}
        found = client.search("rows", list(q), limit=k, search_params=asked)
        return np.array([([hit["id"] for hit in hits] + [-1] * k)[:k] for hits in found], np.int64)

    told = tuned(range(1, 33), lambda n: lists.__setitem__(0, n), ask, queries, truth, wanted)
    return {"milvus": ask}, told


def of_mlpack(kept: Path, rows: Any, queries: Any, truth: Any, k: int, wanted: float) -> Found:
    import mlpack

    some = np.asarray(rows[:COVER_ROWS], np.float64)
    # else the model looks at the memory of an array that is gone
    built = mlpack.knn(reference=some, k=k, query=some[:1], tree_type="cover",
                       algorithm="single_tree", copy_all_inputs=True)  # fmt: skip
    model = built["output_model"]

    def ask(q: Any) -> Any:
        found = mlpack.knn(
            input_model=model, query=np.asarray(q, np.float64), k=k, algorithm="single_tree"
        )
        return np.asarray(found["neighbors"], np.int64).reshape(len(q), k)

    return {"mlpack": ask}, {"rows": len(some)}


def doubled() -> list[int]:
    return [16 << i for i in range(7)]


KINDS: dict[str, Callable[..., Found]] = {
    "hnswlib": of_hnswlib, "usearch": of_usearch, "lancedb": of_lancedb, "milvus": of_milvus,
    "mlpack": of_mlpack,
}  # fmt: skip


def made(
    name: str, kept: Path, rows: Any, queries: Any, truth: Any, k: int, wanted: float
) -> Found:
    """One of them over these rows f32[n, d]; ``truth`` i64[m, k] is what recall is measured against."""
    done = kept / "built"
    if not done.exists():  # the half of an index is not one
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
    start = time.process_time()
    try:
        ways, told = KINDS[name](kept, rows, queries, truth, k, wanted)
    except Exception as error:  # whatever another library does must not end the others
        return {}, {"absent": f"{name}: {error!r}"[:300]}
    if not done.exists():
        done.write_text(f"{time.process_time() - start:.2f}")
    return ways, {"name": name, "built_s": float(done.read_text()), **told}
