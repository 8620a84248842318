"""The shells: Faust agents and the one place that carries the core's effects out."""
