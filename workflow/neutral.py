"""The environment of notebooks, in which the user's own settings are not seen."""

from __future__ import annotations

from pathlib import Path


def neutral_environment(own: str, cache: str) -> dict[str, str]:
    """Variables that keep a user's own settings, history and packages out of the book.

    It also keeps what libraries want to write out of the home folder, which some machines do not
    let be written to: their warnings of that would stand in the pages.

    Parameters
    ----------
    own : str
        A folder of this run alone, for what IPython and Jupyter want to write.
    cache : str
        A folder that later runs find again, for what libraries compute once.
    """
    root = str(Path(__file__).resolve().parent.parent)
    return {
        "IPYTHONDIR": f"{own}/ipython",
        "JUPYTER_CONFIG_DIR": f"{own}/config",
        "JUPYTER_DATA_DIR": f"{own}/data",
        "JUPYTER_RUNTIME_DIR": f"{own}/runtime",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_PATH": f"{own}/jupyter",  # where run_notebook puts its kernel
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": root,
        # Where SLURM is installed, Fabric remarks on it, and names a path of the machine.
        "PYTHONWARNINGS": "ignore:The `srun` command is available",
        "TQDM_DISABLE": "1",  # of the kernel, whose bars would stand in the pages
        "XDG_CONFIG_HOME": f"{own}/config",
        "XDG_CACHE_HOME": cache,
        "MPLCONFIGDIR": f"{cache}/matplotlib",
        "MATPLOTLIBRC": "",
        "NUMBA_CACHE_DIR": f"{cache}/numba",
        "NILEARN_DATA": f"{cache}/nilearn",
        "TORCH_HOME": f"{cache}/torch",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TRITON_CACHE_DIR": f"{cache}/triton",
    }
