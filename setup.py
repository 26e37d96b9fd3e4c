"""Packaging of lrps. Tool settings live in pyproject.toml, versions that the demo and CI use in constraints.txt."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

_EVAL = ["lm-eval[hf]>=0.4.13", "rouge-score>=0.1.2"]


class BuildWithConfigs(build_py):
    """Put configs/, which a checkout has beside the package, into the package of a wheel (lrps/base/shipped.py)."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib, "lrps", "configs"), dirs_exist_ok=True)


setup(
    name="lrps",
    version="0.1.0",
    description="Pretraining of LLM version updates by learning-rate path switching, with a cost ledger",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The lrps authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["pretraining", "language models", "learning rate", "continual learning", "deepspeed"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    project_urls={"Paper": "https://arxiv.org/abs/2410.04103"},
    cmdclass={"build_py": BuildWithConfigs},
    python_requires=">=3.11",
    packages=find_packages(include=["lrps", "lrps.*"]),
    package_data={
        "lrps": ["py.typed"],
        "lrps.demo": ["*.md"],
        "lrps.report": ["*.html.j2"],
        "lrps.report.first_screen": ["*.html.j2", "*.css", "*.js"],
        "lrps.export": ["*.md.j2"],
        "lrps.launch.slurm": ["*.sbatch"],
    },
    entry_points={
        "console_scripts": ["lrps = lrps.cli:main"],
        "lrps.trackers": ["mlflow = lrps.track.mlflow:MlflowRun"],
    },
    install_requires=[
        # An open range: bring the torch build of your GPUs, it is never replaced.
        "torch>=2.6",
        # Pinned: the engine door and the checkpoint fragments rest on its inside (lrps/engine).
        "deepspeed==0.19.8",
        "transformers>=5,<6",
        "webdataset>=1.0,<2",
        "numpy>=1.26",
        "wandb>=0.31",
        # These arrive with the packages above; named because we import them.
        "fsspec>=2024.2",
        "huggingface_hub>=1,<3",
        "jinja2>=3.1",
        "markupsafe>=2.1",
        "packaging>=23",
        "psutil>=5.9",
        "pydantic>=2.7,<3",
        "PyYAML>=6",
        "rich>=13",
        "safetensors>=0.4",
        "tokenizers>=0.21",
        "typer>=0.12",
    ],
    extras_require={
        "dev": [
            *("ruff>=0.6", "mypy>=1.11", "types-PyYAML", "types-psutil"),
            *("filelock>=3", "hypothesis>=6", "jsonschema>=4", "pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.8"),
            # Readers and servers that the tests hold our data against.
            *("datasets>=3", "datatrove>=0.4", "moto[s3,server]>=5", "pyarrow>=15", "s3fs", "zstandard>=0.22"),
            *("mlflow-skinny>=3", "tensorboard>=2.16", "trackio>=0.43", "wandb-workspaces>=0.4.13"),
            *_EVAL,
        ],
        # `lrps score`. 0.4.13 is the first that was tried with transformers 5; rouge-score comes with it anyway.
        "eval": _EVAL,
        "parquet": ["pyarrow>=15"],
        "zst": ["zstandard>=0.22"],
        "s3": ["s3fs"],
        "gs": ["gcsfs"],
        "datatrove": ["datatrove>=0.4"],
        "nvml": ["nvidia-ml-py>=12"],
        # The docs site: `make site`.
        "docs": ["mkdocs-material>=9.5"],
        # Trackers beside wandb, and the dashboard that `lrps wandb workspace` makes.
        "tensorboard": ["tensorboard>=2.16"],
        "trackio": ["trackio>=0.43"],
        "mlflow": ["mlflow-skinny>=3"],
        "wandb-workspaces": ["wandb-workspaces>=0.4.13"],
    },
)
