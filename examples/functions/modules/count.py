"""Counts the words of the texts in a directory."""

import os

import separators  # made by step.modules


def words(text):
    return text.translate({ord(c): " " for c in separators.SEPARATORS}).split()


def execute_function(input):
    counts = []
    for name in sorted(os.listdir(input["dir"])):
        with open(os.path.join(input["dir"], name), encoding="utf-8") as f:
            counts.append({"name": name, "words": len(words(f.read()))})
        print("counted", name)  # goes to the log
    return counts
