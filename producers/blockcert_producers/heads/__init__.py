"""What the heads of a reference look at on its calibration prompts, by kinds of places (``places``, ``naming``)."""
