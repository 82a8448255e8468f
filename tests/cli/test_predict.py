"""The command `predict`."""

import pytest
from support.inputs import MOVIES_CSV, write_movielens
from support.processes import here, said

from recmodel.models import versions


def test_predict_takes_ids_and_exact_titles(toy_models):
    answer = here("predict", "1", "10", "Matrix, The (1999)", "--models", toy_models)
    assert answer.returncode == 0, answer.stderr
    assert "Amélie (2001)" in answer.stdout
    assert "Matrix, The (1999)" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["1", "Emma (1996)"], "2 movies are called 'Emma (1996)'; give the id of the one you mean: 3 or 4"),
        (["1", "the matrix"], "the catalogue has no movie 'the matrix'; near it: 'Matrix, The (1999)'"),
        (["1", "Qwertz (1900)"], "the catalogue has no movie 'Qwertz (1900)'; give an id or an exact title"),
        (["1", "999"], "the catalogue has no movie '999'; give an id or an exact title"),
        (["999", "1"], "does not know user 999"),
    ],
)
def test_predict_answers_an_unknown_name_with_a_sentence(toy_models, arguments, sentence):
    answer = here("predict", *arguments, "--models", toy_models)
    assert answer.returncode == 2
    assert sentence in said(answer)
    assert "Traceback" not in answer.stderr


def test_predict_knows_a_user_by_their_ratings_not_by_training(toy_models, tmp_path):
    """The default model serves users who came after it, from the ratings that it is given."""
    default = next(v for v in versions.list_versions(toy_models) if "-default-" in v)
    later = write_movielens(tmp_path / "later", [(777, 1, 5.0, 1), (777, 3, 1.0, 2)])
    answer = here("predict", "777", "10", "--models", toy_models, "--model-version", default, "--data", later)
    assert answer.returncode == 0, answer.stderr
    assert "Amélie (2001)" in answer.stdout
    answer = here("predict", "778", "10", "--models", toy_models, "--model-version", default, "--data", later)
    assert answer.returncode == 2
    assert "does not know user 778" in said(answer)


def test_predict_places_a_movie_that_is_new_to_the_model_and_says_so(toy_models, tmp_path):
    default = next(v for v in versions.list_versions(toy_models) if "-default-" in v)
    movies = f"{MOVIES_CSV}77,Brand New (2026),Comedy|Romance\n78,Another (2026),Drama\n".replace("Amélie", "Amelie")
    later = write_movielens(tmp_path / "later", [(777, 1, 5.0, 1), (777, 78, 1.0, 2)], movies)
    asked = ("predict", "777", "Brand New (2026)", "10", "--models", toy_models, "--data", later, "--model-version")
    answer = here(*asked, default)
    assert answer.returncode == 0, answer.stderr
    assert "Brand New (2026) (new)" in answer.stdout
    assert "Amelie (2001) " in answer.stdout  # as tonight's catalogue calls it
    assert "1 of the movies is new to the model, which places by genres and year" in said(answer)
