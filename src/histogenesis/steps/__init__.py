"""What the steps of a run do, one function each: the public Python API."""
