"""From a request to records: what has to run, what is done already, and running it."""
