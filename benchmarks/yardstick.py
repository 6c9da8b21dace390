"""The yardstick: how many ES256 signatures one process makes in a second, which is what the core at hand is worth.

Usage: python yardstick.py SECONDS; prints signatures per second of CPU time.
"""

import sys
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_BATCH = 100


def signatures_per_second(seconds: float) -> float:
    key, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    payload = bytes(300)
    made, started, until = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(_BATCH):
            key.sign(payload, algorithm)
        made += _BATCH
    return made / (time.process_time() - started)


if __name__ == "__main__":
    print(signatures_per_second(float(sys.argv[1])))
