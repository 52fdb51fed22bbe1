"""What stands beside a compressed picture: what of it a decoder needs, or an encoder writes.

All else in comments, application data and boxes is somebody's text.
"""

import re

CONTAINERS = frozenset({b"jp2h", b"res "})
PICTURE_BOXES = frozenset(
    b"jP  |ftyp|ihdr|bpcc|colr|pclr|cmap|cdef|resc|resd|JXL |jxll|jxlc|jxlp|jxli|rreq".split(b"|")
)
# What encoders write about themselves.
MADE_BY = re.compile(
    rb"(?:\x00\x01)?(?:Kakadu-v?[\d.]+|Created by (?:GDCM/)?OpenJPEG version [\d.]+|"
    rb"Creator: JasPer Version [\d.]+|OpenJPH Ver [\d.]+|Created by Grok +version [\d.]+|"
    rb"CREATOR: gd-jpeg v[\d.]+ \(using IJG JPEG v\d+\)(?:, (?:default quality|quality = \d+))?\n?|"
    rb"Pegasus Imaging Corp(?:oration)?\.?|LEAD Technologies,? Inc\.? V[\d.]+|Lavc[\d.]+|"
    rb"Kdu-Layer-Info: log_2\{Delta-D\((?:squared-error|MSE)\)/(?:\[2\^16\*)?Delta-L"
    rb"\(bytes\)\]?\}, L\(bytes\)\n[-+\d.eEinf, \n]*)"
    rb"\0?"
)
# Application data a decoder needs, and none of it text: JFIF without a thumbnail, Adobe's and HP's
# colour transforms, SPIFF's header and its end.
NEEDED = re.compile(
    rb"JFIF\0.{7}\0\0|LJIF\0.{8}|Adobe[\0-\2de@\x80\xc0]{5,7}|mrfx.|SPIFF\0.{24}|"
    rb"\x00\x00\x00\x01(?:\xff\xd8)?",
    re.DOTALL,
)
SETTINGS_AT_MOST = 64  # bytes of a box that is looked at whole
# A box of an encoder's own settings: its number, and numbers.
SETTINGS = re.compile(
    rb"ap\0\xde\xec\x87\xd5\x11\xb2\xed\0P\x04q\xfd\xdc(?!.*[\x20-\x7e\xa1-\xfe]{3}).{32}",
    re.DOTALL,
)
