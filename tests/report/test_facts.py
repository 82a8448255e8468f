"""Where the facts of a run come from."""

from support.report import DAY, publish, recommendations

from recmodel import settings
from recmodel.data import statistics
from recmodel.report import facts
from recmodel.tables.candidates import candidate_users
from recmodel.tables.output import open_output


def test_the_published_statistics_replace_reading_the_ratings(site, tmp_path):
    output = open_output(tmp_path / "output")
    run = {"settings": settings.load(paths={"data": str(tmp_path / "gone"), "models": str(site.models)}).model_dump()}
    publish(tmp_path / "output", recommendations(range(1, 59), 40, popular={3, 4}), DAY, site.version, **run)

    def collect(data=None):
        return facts.collect(output, DAY, settings.load(), models=None, data=data)

    without = collect()
    assert without.statistics is None
    assert "gone is not a directory" in without.statistics_missing
    assert without.model.name == site.version  # found where the run found it
    users = [*candidate_users(output.recommendations(DAY))]
    published = statistics.read(site.data, users, settings.load().input)
    frame = recommendations(range(1, 59), 40, popular={3, 4})
    attachments = {statistics.FILE: published.to_bytes()}
    publish(tmp_path / "output", frame, DAY, site.version, attachments=attachments, **run)
    with_attachment, read = collect(), collect(str(site.data))
    assert with_attachment.statistics.rows_in == read.statistics.rows_in
    assert with_attachment.sample_users == read.sample_users
    assert all(user.history for user in with_attachment.sample_users)
    assert collect(str(tmp_path / "elsewhere")).statistics is None  # --data counts before what was published
