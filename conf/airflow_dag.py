"""An example for Airflow (tried with 3.3): a night as one task, each for the date and the moment it was scheduled for.

Copy this file to Airflow's folder of DAGs and set the paths in COMMAND. The night locks its output, trains when it is
due, resumes what was interrupted and publishes whole runs only, so that a task can be cleared or retried at any time.
"""

# mypy: ignore-errors

from __future__ import annotations

from datetime import datetime, timedelta

try:  # Airflow 3
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.operators.bash import BashOperator

# A retry or a backfill uses the ratings up to the scheduled moment, as the first try did, and the model of then where
# that is a day in the past. With --as-of, training is due by the model's age alone, not for growth of the input.
COMMAND = (
    "/opt/recmodel/submit.sh nightly --data /data/ratings --models /var/lib/recmodel/models"
    " --output /var/lib/recmodel/output --master 'local[8]'"
    " --run-date {{ data_interval_end | ds }}"
    " --as-of {{ data_interval_end.isoformat() }}"
)

with DAG(
    dag_id="recmodel",
    description="Nightly movie recommendations",
    schedule="15 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,  # True, or a backfill, scores the dates that were missed, each as of its time
    max_active_runs=1,  # a second night would find the lock and be skipped
    default_args={"retries": 2, "retry_delay": timedelta(minutes=15)},
):
    BashOperator(
        task_id="nightly",
        bash_command=COMMAND,
        skip_on_exit_code=75,  # another run is under way
        execution_timeout=timedelta(hours=8),
        append_env=True,
        env={
            "RECMODEL_MONITORING__ENVIRONMENT": "production",
            "RECMODEL_PATHS__LOGS": "/var/log/recmodel",
            "RECMODEL_SPARK_LOG": "/var/log/recmodel/spark.log",
        },
    )
