"""One function a rule: what a step of the workflow does, to call from Python."""
