"""The Spark session of a job."""

from pathlib import Path


def test_sparks_pages_listen_on_loopback_only(spark):
    port = int(spark.sparkContext.uiWebUrl.rsplit(":", 1)[1])
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, local_port = line.split()[1].split(":")
            if int(local_port, 16) == port and line.split()[3] == "0A":  # LISTEN
                listening.add(address)
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and the same within IPv6
    assert listening
