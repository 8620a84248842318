"""`make demo`: the whole system on real data, with a self-check.

1. A broker, two workers, in a temporary directory. 2. Every 8 x 8 patch of a photograph goes in as a
row, shuffled; the tree grows, and each level is told as it opens and closes. 3. `kill -9` of a worker
while at least a fifth of the rows are still to be applied: else the run has proved nothing and says
so. 4. The worker comes back, all rows are applied. 5. `pctstream verify` compares the log with the
stores, row by row. 6. When the tree is at rest: the levels, the centroids of level 1 as pictures, a
cover and a neighbour query. 7. The exit code is verify's, or 1 if anything else was not as it must be.
"""
