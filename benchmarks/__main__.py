"""python -m benchmarks [NAME ...] [--rows N] [--repeats N] [--cached] [--draft]"""

import argparse
import os
import sys
from importlib import import_module

import torch

from benchmarks.page import SECTIONS, Section, publish


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", default=SECTIONS, metavar="name", help=f"of {', '.join(SECTIONS)}; none: all"
    )
    parser.add_argument("--rows", type=int, help="rows per model, where a measurement has them")
    parser.add_argument("--repeats", type=int, help="how often a timed measurement is repeated")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[100], help="AutoAttack's steps in APGD and FAB: 100, or 10 as shipped"
    )
    parser.add_argument("--models", nargs="*", help="only the models whose name contains one of these")
    parser.add_argument("--cached", action="store_true", help="never run AutoAttack, compare with its stored results")
    parser.add_argument("--draft", action="store_true", help="print, leave the page as it is")
    args = parser.parse_args()
    if unknown := set(args.names) - set(SECTIONS):
        parser.error(f"expected names among {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    return args


def main() -> None:
    args = arguments()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    for name in args.names:
        section: Section | None = import_module(f"benchmarks.{name}").measure(args)
        if section is None:
            print(f"{name}: skipped, it needs the folder of real models (BLINDSPOTS_ZOO)")
            continue
        print(f"\n## {section.title}\n\n{section.text}\n")
        if not args.draft:
            publish(name, section, command if len(args.names) == 1 else f"python -m benchmarks {name}")


if __name__ == "__main__":
    main()
