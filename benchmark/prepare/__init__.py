"""Preparing data sets: from what their owners give out to the layout that the tasks read."""
