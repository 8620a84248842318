"""What `pctstream doctor` looks at, one file per place."""
