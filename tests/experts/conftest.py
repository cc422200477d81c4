import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import Box2D  # noqa: F401 - its SWIG types warn while they load, and crash where a warning is an error
