"""A corpus of synthetic faces on disk: tar shards, random access, generation that can be killed."""
