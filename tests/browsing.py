"""What tests of pages in a real browser share."""

import time


def until(page, expression: str) -> None:
    """Wait until it is true. page.wait_for_function evaluates in a way that the pages' own policy forbids."""
    for _ in range(900):
        if page.evaluate(expression):
            return
        time.sleep(0.1)
    raise AssertionError(f"never became true: {expression}")
