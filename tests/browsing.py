"""What tests of pages in a real browser share."""

import time

LATE_TILE = "loaded before reset"  # of OpenSeadragon: a tile came after its picture was changed for another, no fault


def until(page, expression: str) -> None:
    """Wait until it is true. page.wait_for_function evaluates in a way that the pages' own policy forbids."""
    for _ in range(900):
        if page.evaluate(expression):
            return
        time.sleep(0.1)
    raise AssertionError(f"never became true: {expression}")


def complaints(page) -> list[str]:
    """What a page says on its console, and its errors, from now on; all but what a busy machine alone makes it say."""
    found: list[str] = []
    page.on("console", lambda message: LATE_TILE in message.text or found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
