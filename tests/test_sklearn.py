"""Transformers of scikit-learn: clones, names, pipelines, models."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from image_factory import row_image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pandas_imgproc.errors import UnreadableImageWarning
from pandas_imgproc.features import default_features
from pandas_imgproc.sklearn import ImageEmbeddings, ImageFeatures

N = 24


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for k in range(N):
        row_image(k).save(folder / f"{k}.png")
    paths = [str(folder / f"{k}.png") for k in range(N)]
    return pd.DataFrame({"image_path": paths, "price": np.arange(N) / 2}, index=np.arange(N) % 5)


def mean_color(images):
    return images.mean(axis=(1, 2))


def test_features_are_those_of_the_accessor(frame):
    found = ImageFeatures().fit_transform(frame["image_path"])
    pd.testing.assert_frame_equal(found, frame.img.features("image_path").astype("float64"), check_flags=False)
    assert set(found.dtypes) == {np.dtype("float64")}


@pytest.mark.parametrize("make", [lambda s: s, lambda s: s.to_frame(), lambda s: s.to_numpy(), lambda s: s.tolist()])
def test_column_may_be_of_any_type(frame, make):
    found = ImageFeatures(["width", "mean_r"]).fit_transform(make(frame["image_path"]))
    assert found["width"].tolist() == frame.img.features("image_path", "width")["width"].tolist()


def test_transformers_are_cloned_and_searched(frame):
    for transformer in (ImageFeatures(["width"], size=8), ImageEmbeddings(mean_color, n_columns=3, size=8)):
        copy = clone(transformer)
        assert copy.get_params() == transformer.get_params()
        names = copy.fit(frame["image_path"]).get_feature_names_out().tolist()
        assert names == list(copy.transform(frame["image_path"]))
    pipeline = make_pipeline(ImageFeatures(["mean_r", "std_r"]), HistGradientBoostingClassifier(max_iter=2))
    search = GridSearchCV(pipeline, {"imagefeatures__size": [8, None]}, cv=2)
    assert search.fit(frame["image_path"], np.arange(N) % 2).best_params_


def test_column_transformer_names_columns_and_keeps_rows(frame):
    transformer = ColumnTransformer(
        [("image", ImageFeatures(), ["image_path"]), ("emb", ImageEmbeddings(mean_color, n_columns=3, size=8),
         "image_path"), ("price", StandardScaler(), ["price"])]
    )  # fmt: skip
    matrix = transformer.fit_transform(frame)
    names = transformer.get_feature_names_out().tolist()
    assert names == [
        *(f"image__{name}" for name in default_features()), *(f"emb__emb_{k}" for k in range(3)), "price__price",
    ]  # fmt: skip
    assert matrix.shape == (N, len(names))
    column = names.index("image__mean_r")
    assert matrix[:, column].tolist() == frame.img.features("image_path", "mean_r")["mean_r"].tolist()
    table = transformer.set_output(transform="pandas").fit_transform(frame)
    assert table.columns.tolist() == names
    assert table.index.equals(frame.index)


def test_model_takes_features_unedited(frame):
    rows = pd.concat([frame, pd.DataFrame({"image_path": ["gone.png"]})])
    features = rows.img.features("image_path", errors="coerce")
    HistGradientBoostingClassifier(max_iter=2).fit(features, np.arange(N + 1) % 2)
    scores = cross_val_score(
        make_pipeline(ImageFeatures(errors="coerce"), HistGradientBoostingClassifier(max_iter=2)),
        rows["image_path"], np.arange(N + 1) % 2, cv=2,
    )  # fmt: skip
    assert len(scores) == 2


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (ImageFeatures("camera"), "'camera', which is not numeric"),
        (ImageFeatures("brightnes"), "did you mean 'brightness"),
        (ImageFeatures("all"), "is not numeric"),
        (ImageEmbeddings(mean_color, n_columns=0), "n_columns=0"),
    ],
)
def test_wrong_parameters_raise_when_fitted(frame, transformer, message):
    with pytest.raises(ValueError, match=message):
        transformer.fit(frame["image_path"])


def test_several_columns_are_refused(frame):
    with pytest.raises(ValueError, match=r"not 2, \['image_path', 'price'\]; pass one, as in df\['image_path'\]"):
        ImageFeatures().fit(frame)


def test_scikit_learn_is_imported_late():
    code = (
        "import sys, pandas_imgproc; assert 'sklearn' not in sys.modules; sys.modules['sklearn'] = None\n"
        "try:\n    import pandas_imgproc.sklearn\nexcept ImportError as exc:\n    print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pandas-imgproc[sklearn]'" in done.stdout


def test_warning_of_a_pipeline_is_at_the_line_of_the_user(frame):
    paths = pd.concat([frame["image_path"], pd.Series(["gone.png"])])
    pipeline = make_pipeline(ImageFeatures(["width"]), HistGradientBoostingClassifier(max_iter=2))
    with pytest.warns(UnreadableImageWarning) as caught:
        pipeline.fit(paths, np.arange(N + 1) % 2)
    assert [warning.filename for warning in caught] == [__file__]
