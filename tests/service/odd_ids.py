"""Ids as odd as file names can be."""

NAMES = [
    "plain.png",
    "with space.png",
    'sub/folder/it\'s "quoted".png',
    "hash#question?percent%41&plus+.png",
    "sub/👩‍💻 ünï.png",
    "line\nbreak.png",
    "back\\slash.png",
    "semi;colon,comma=at@.jpg",
]
