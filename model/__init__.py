"""Image bytes in, unit vectors out. Importing this room never imports torch."""


class Failure(Exception):
    """What its reader can mend: the message is a sentence that says what is wrong and what to do."""
