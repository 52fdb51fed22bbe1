"""Draws names, numbers and dates into real images, as devices do, and remembers where."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from gateway.deid.pixel_frames import Box, Form, Frames, Values
from gateway.deid.pixel_views import views

FONTS = {
    "latin": (
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
        "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf",
        "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf",
        "/usr/share/fonts/truetype/noto/NotoSansMono-Regular.ttf",
    ),
    "chinese": (
        "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
        "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/opentype/noto/NotoSerifCJK-Bold.ttc",
    ),
}
HOW = "fonts are missing: apt-get install fonts-dejavu-core fonts-noto-cjk fonts-wqy-zenhei"
SIZES = (11, 12, 14, 16, 18, 22, 28, 36)
COLOURS = (
    (255, 255, 255),
    (255, 255, 0),
    (0, 255, 0),
    (0, 255, 255),
    (200, 200, 200),
    (255, 128, 0),
)
GREYS = (255, 255, 255, 220, 180)
FAMILIES = ("SMITH", "ZHANG", "WANG", "GARCIA", "OUYANG", "MUELLER", "LI", "KOWALSKI", "NGUYEN")
GIVEN = ("JOHN", "WEI", "XIAOMING", "MARIA", "ANNA", "TAO", "PETER", "JING", "LUCIA")
CHINESE = ("张伟", "王小明", "欧阳修文", "李娜", "刘德华", "陈思雨", "诸葛亮", "赵敏", "司马相如")


@dataclass(frozen=True, slots=True)
class Planted:
    text: str
    box: Box
    size: int


def missing_fonts() -> str:
    """Say how to install what is missing, or nothing."""
    return "" if all(Path(font).exists() for fonts in FONTS.values() for font in fonts) else HOW


def a_text(chance: random.Random) -> str:
    """Make up a line as a device prints it."""
    day = f"{chance.randint(1930, 2015)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    family, given = chance.choice(FAMILIES), chance.choice(GIVEN)
    number = str(chance.randint(10**6, 10**9))
    chinese = chance.choice(CHINESE)
    return chance.choice(
        (
            f"{family}^{given}", f"{family}, {given.title()}", f"{family} {given} M 045Y",
            f"ID: {number}", f"PID {number}", number, f"DOB {day}", day.replace("-", "/"), day,
            f"Name: {given.title()} {family.title()}", f"Acc# {number}", chinese,
            f"姓名:{chinese}", f"姓名：{chinese} 男 45岁", f"{chinese} {number}",
            f"住院号:{number}", f"检查日期 {day}", "华中科技大学同济医院", f"{chinese} {day}",
            "放射科 CT室",
        )
    )  # fmt: skip


def plant(
    dataset: Dataset, transfer_syntax_uid: str, count: int, chance: random.Random
) -> tuple[Frames, list[Planted]]:
    """Draw lines into every frame; the caller stores the frames as it likes."""
    form = Form.of(dataset)
    frames = Frames(dataset, transfer_syntax_uid, form)
    planted: list[Planted] = []
    for _ in range(count):
        place = _place(form, planted, chance)
        if place is None:
            continue
        text, font, size, box, mask = place
        planted.append(Planted(text, box, size))
        boxed = chance.random() < 0.15
        colour, grey = chance.choice(COLOURS), chance.choice(GREYS)
        _ = font
        for number in range(form.frames):
            frame = frames.frame(number)
            if boxed:
                _blend(frame, box, np.ones_like(mask), form, frames, (0, 0, 0), 0)
            _blend(frame, box, mask, form, frames, colour, grey)
            frames.put(number, frame)
    return frames, planted


def _place(form: Form, taken: Sequence[Planted], chance: random.Random):
    for _ in range(40):
        text = a_text(chance)
        chinese = not text.isascii()
        path = chance.choice(FONTS["chinese" if chinese else "latin"])
        largest = max(11, min(36, form.rows // 8))
        size = chance.choice([s for s in SIZES if s <= largest] or [11])
        if form.rows > 1200:
            size *= 2
        font = ImageFont.truetype(path, size)
        left, top, right, bottom = font.getbbox(text)
        width, height = right - left, bottom - top
        if width + 4 > form.columns or height + 4 > form.rows:
            continue
        x, y = _spot(form, width, height, chance)
        box = Box(x, y, x + width, y + height)
        if any(_meets(box.widened(6, form.rows, form.columns), other.box) for other in taken):
            continue
        canvas = Image.new("L", (width, height), 0)
        ImageDraw.Draw(canvas).text((-left, -top), text, font=font, fill=255)
        return text, font, size, box, np.asarray(canvas, np.float32) / 255
    return None


def _spot(form: Form, width: int, height: int, chance: random.Random) -> tuple[int, int]:
    free_x, free_y = form.columns - width - 2, form.rows - height - 2
    if chance.random() < 0.6:  # corners, as banners are
        x = chance.choice((2, free_x)) if free_x > 4 else 2
        y = chance.choice((2, free_y, min(free_y, 2 + 2 * height)))
        return max(1, x), max(1, y)
    return chance.randint(1, max(1, free_x)), chance.randint(1, max(1, free_y))


def _meets(one: Box, other: Box) -> bool:
    return (
        one.left < other.right and other.left < one.right
        and one.top < other.bottom and other.top < one.bottom
    )  # fmt: skip


def _blend(
    frame: Values, box: Box, mask: Values, form: Form, frames: Frames, colour, grey: int
) -> None:
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    part = frame[rows, columns].astype(np.float64)
    if frames.lut is not None:
        table = frames.lut.colours.astype(np.int64)
        nearest = int(np.argmin(((table - np.array(colour)) ** 2).sum(axis=1))) + frames.lut.first
        part[mask > 0.5] = nearest
    elif form.samples == 1:
        low, high = float(frame.min()), float(frame.max())
        wanted = low + (high - low) * grey / 255
        if form.photometric == "MONOCHROME1":
            wanted = high - (high - low) * grey / 255
        part = part * (1 - mask) + wanted * mask
    else:
        target = np.array(colour, np.float64)
        if frames.photometric.startswith("YBR"):
            red, green, blue = target
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            target = np.array([luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)])
        target *= 1 << form.stored - 8
        part = part * (1 - mask[..., None]) + target * mask[..., None]
    frame[rows, columns] = part.round().clip(*_bounds(frame)).astype(frame.dtype)


def _bounds(frame: Values) -> tuple[int, int]:
    info = np.iinfo(frame.dtype)
    return info.min, info.max


def pictures(frames: Frames) -> Iterator[list]:
    for frame in frames:
        yield views(frame, frames.form, frames.photometric, frames.lut)
