"""Which objects a detector finds (easy) or misses (hard): attributes of a data set."""
