#!/usr/bin/env python3
"""Checks a ledger without the broker's code: verify_ledger.py DIR (the folder that holds HEAD and chain/)."""
import hashlib
import json
import pathlib
import sys


def verify(root: pathlib.Path) -> str:
    head = json.loads((root / "HEAD").read_text())
    seq, previous, at_head = 0, "0" * 64, None
    if head["seq"] == 0:
        at_head = previous
    segments = sorted((root / "chain").glob("*.log"))
    for expected, path in enumerate(segments, 1):
        if path.name != f"{expected:08d}.log":
            raise ValueError(f"chain/{expected:08d}.log: the segment is missing")
        lines = path.read_bytes().split(b"\n")
        tail = lines.pop()
        if tail and path != segments[-1]:
            raise ValueError(f"chain/{path.name}: ends in the middle of a line")
        for number, line in enumerate(lines, 1):
            where = f"chain/{path.name} line {number}, record {seq + 1}"
            claimed, _, body = line.partition(b" ")
            if hashlib.sha256(previous.encode() + b" " + body).hexdigest().encode() != claimed:
                raise ValueError(f"{where}: the hash does not match")
            if json.loads(body)["seq"] != seq + 1:
                raise ValueError(f"{where}: the numbering has a gap")
            seq, previous = seq + 1, claimed.decode()
            if seq == head["seq"]:
                at_head = previous
    if at_head != head["hash"]:
        raise ValueError(f"the chain has {seq} records and does not contain the head, record {head['seq']}")
    return f"{seq} records in {len(segments)} segments, last hash {previous}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print("verified:", verify(pathlib.Path(sys.argv[1])))
    except (ValueError, KeyError, OSError) as error:
        print("NOT verified:", error)
        sys.exit(1)
