"""`make demo`: the whole system on real data, with a self-check.

1. A broker, two workers, in a temporary directory. 2. Patches of 8 x 8 pixels of a photograph go in as
rows, shuffled; the tree grows, and each level is told as it opens and closes. 3. `kill -9` of a worker
while at least a fifth of the rows are still to come: else the run has proved nothing and says so; the
worker comes back. 4. The stream turns into another photograph's: the forecasts see a portion grow, and the
policy moves one before the tolerance line is crossed. 5. `pctstream verify` compares the log with the
stores, row by row. 6. When the tree is at rest: the levels, the centroids of level 1 as pictures, a
cover, a neighbour query and a search. 7. The exit code is verify's, or 1 if anything else was not as it
must be.
"""
