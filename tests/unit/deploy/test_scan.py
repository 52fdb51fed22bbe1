"""The demo's scanner finds what was planted, however it was dressed, and nothing else."""

import base64
import random
import zlib

import numpy as np
import pytest

from deploy.demo.people import CHECKSUM_WEIGHTS, make_person
from deploy.demo.proof import leaky_control, scannable
from deploy.demo.scan import SHORTEST_RUN, Scanner

NAME, HAN = "Vexwynros^Brandorquil", "欧阳晓明"
NOISE = random.Random(7).randbytes(200_000)
IMAGE = random.Random(8).randbytes(8192)
BODY = np.random.default_rng(9).integers(0, 2000, 4096).astype("<u2").tobytes()


def a_scanner():
    return Scanner([NAME, HAN, "ZY12345678"], {"image": [IMAGE], "body": [BODY]})


def test_random_bytes_hold_nothing():
    found = a_scanner().scan(NOISE)

    assert found.clean
    assert found.scanned_bytes == len(NOISE)


@pytest.mark.parametrize(
    "codec", ["utf-8", "gb18030", "utf-16-le", "utf-16-be", "utf-32-le", "gb2312"]
)
def test_a_name_is_found_in_any_charset(codec):
    found = a_scanner().scan(NOISE[:99] + HAN.encode(codec) + NOISE[99:200])

    assert set(found.texts) == {HAN}


def test_a_name_in_seven_bits_after_an_escape_is_found():
    seven = bytes(byte & 0x7F for byte in HAN.encode("gb2312"))

    found = a_scanner().scan(b"\x1b$)A" + seven + b"\x1b(B")

    assert set(found.texts) == {HAN}


@pytest.mark.parametrize(
    "dress",
    [
        bytes.upper,
        base64.b64encode,
        base64.urlsafe_b64encode,
        lambda raw: raw.hex().encode(),
        lambda raw: raw.hex().upper().encode(),
        lambda raw: b"0.1.0+build-" + raw.hex().encode() + b"_x",
        lambda raw: b"0.1.0-" + base64.b64encode(raw) + b"-x",
        zlib.compress,
        lambda raw: __import__("hashlib").sha256(raw).digest(),
        lambda raw: __import__("hashlib").md5(raw).hexdigest().encode(),
    ],
)
def test_a_dressed_name_is_found(dress):
    leaked = NOISE[:1001] + b"\n" + dress(NAME.encode()) + b"\n" + NOISE[1001:3000]

    assert NAME in a_scanner().scan(leaked).texts


@pytest.mark.parametrize("shift", range(8))
def test_a_run_of_pixels_is_found_at_any_alignment(shift):
    piece = IMAGE[1000 + shift : 1000 + shift + SHORTEST_RUN + 8]

    found = a_scanner().scan(NOISE[:500] + piece + NOISE[500:1000])

    assert found.pixel_runs == {"image": len(piece)}


def test_a_few_common_bytes_are_no_run():
    found = a_scanner().scan(NOISE[:500] + IMAGE[1000:1024] + NOISE[500:1000])

    assert not found.pixel_runs


@pytest.mark.parametrize("intercept", [0, -1024])
def test_pixels_that_became_floats_are_found(intercept):
    floats = (np.frombuffer(BODY, "<u2").astype("<f4") + intercept)[700:800].tobytes()

    found = a_scanner().scan(NOISE[:501] + floats + NOISE[501:1000])

    assert set(found.pixel_runs) == {"body"}


def test_the_leaky_control_gives_away_everything_that_was_planted():
    rng = random.Random(3)
    texts = sorted({trace for _ in range(20) for trace in make_person(rng).traces()})
    images = scannable({"image": [IMAGE], "body": [BODY], "black": [bytes(8192)]})

    control = leaky_control(NOISE, texts, images, seed=5)

    found = Scanner(texts, images).scan(control)
    assert set(found.texts) == set(texts)
    assert set(found.pixel_runs) == {"image", "body"}


def test_invented_identity_numbers_have_a_right_check_digit():
    number = make_person(random.Random(1)).national_id

    total = sum(int(d) * w for d, w in zip(number, CHECKSUM_WEIGHTS, strict=False))

    assert number[17] == "10X98765432"[total % 11]


def test_a_test_pattern_does_not_hide_another_image_that_holds_its_block():
    block = bytes(range(1, 9))
    pattern, other = block * 1000, block + IMAGE[:4096]
    images = {"pattern": [pattern], "twin": [pattern], "other": [other]}
    scanner = Scanner([], images)

    found = scanner.scan(leaky_control(NOISE, [], images, seed=3))

    assert set(found.pixel_runs) == set(images)
    assert scanner.scan(NOISE).clean
