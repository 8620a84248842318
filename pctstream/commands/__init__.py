"""One file per command of `pctstream`."""
