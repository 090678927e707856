"""The command `tcl-jax` from a checkout, also where nothing is installed.

python main.py --config=digits_tcl
python main.py --help
"""

from tcl_jax.__main__ import main

if __name__ == "__main__":
    main()
