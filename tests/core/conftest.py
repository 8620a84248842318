"""No deadline for an example: the first call of a kernel may have to compile it."""

from hypothesis import settings

settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")
