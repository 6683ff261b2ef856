"""``python -m tests.bench.data list | path NAME | build NAME...``"""

import argparse

from tests.bench.data.cache import dataset, datasets


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every data set, and whether it is built")
    commands.add_parser("path", help="where a data set lies").add_argument("name")
    build = commands.add_parser("build", help="build data sets that are missing")
    build.add_argument("names", nargs="+", metavar="NAME", help="a data set, or 'all'")
    arguments = parser.parse_args()
    if arguments.command == "list":
        for each in datasets().values():
            print(f"{each.name:16} {'ready  ' if each.ready else 'missing'} {each.summary}")
    elif arguments.command == "path":
        print(dataset(arguments.name).path)
    else:
        names = list(datasets()) if arguments.names == ["all"] else arguments.names
        for name in names:
            print(dataset(name).ensure())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
