"""Try the audit of printed tables on tables whose truth is known, and record how it does.

``python -m workflow.try_audit FOLDER`` makes 10,000 rows of true tables of each kind, and 1,000 of
each family with one figure altered, and writes to FOLDER `audit_true.csv` (how often each check
calls a true table inconsistent), `audit_altered.csv` (how often it finds an altered one) and
`audit.json` (command, seed, commit, versions). That takes some minutes of one core. Each kind's
counts lie in FOLDER/kinds, where an interrupted run finds them again. Chapter 10 shows what is
recorded in book/record.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from oacore.files import write
from oacore.fingerprint import fingerprint
from oacore.instruments.audit.trial import FAMILIES, KINDS, RULES, accusations, power
from oacore.provenance import of_this_machine
from oacore.results import made_once, write_csv


def main() -> int:
    """Command line: FOLDER [--rows N] [--altered N] [--seed N]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000, help="true rows of each kind")
    parser.add_argument("--altered", type=int, default=1_000, help="rows of each family to alter")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    # Counts of other code, seeds or numbers would be others.
    code = fingerprint("oacore.instruments.audit.trial")
    folder = words.folder / "kinds" / f"{code}-{words.seed}-{words.rows}-{words.altered}"
    counted = [
        made_once(
            folder / f"{'-'.join(kind)}.csv", partial(accusations, words.rows, words.seed, [kind])
        )
        for kind in KINDS
    ]
    true = pd.concat(counted, ignore_index=True)
    write_csv(true, words.folder / "audit_true.csv")
    found = [
        made_once(folder / f"{family}.csv", partial(power, words.altered, words.seed, [family]))
        for family in FAMILIES
    ]
    false = pd.concat(found, ignore_index=True).round({"found": 4, "undetermined": 4})
    write_csv(false, words.folder / "audit_altered.csv")
    origin = {
        "command": f"python -m workflow.try_audit FOLDER --rows {words.rows} "
        f"--altered {words.altered} --seed {words.seed}",
        "seed": words.seed,
        "kinds": [f"{family}: {condition}" for family, condition in KINDS],
        "rules of rounding": list(RULES),
        "provenance": of_this_machine(),
    }
    write(words.folder / "audit.json", json.dumps(origin, indent=1))
    print(true.to_string(index=False), false.to_string(index=False), sep="\n\n")
    return 0 if not true["inconsistent"].any() else 1


if __name__ == "__main__":
    sys.exit(main())
