"""What rang: code of the victim that a file made run."""

rang: list[str] = []
armed = False


def ring(what: str) -> None:
    if armed:
        rang.append(what)
