"""``python -m mlip_bench`` is the command ``mlip-bench``."""

from mlip_bench.cli import main

if __name__ == "__main__":
    main()
