"""The HTTP side: FastAPI over the read model; any worker answers for the whole tree."""
