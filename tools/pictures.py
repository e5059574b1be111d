"""Pictures of the site: the size that they were drawn for, and a twin for dark pages."""
import base64
import re
from io import BytesIO

import numpy as np
from PIL import Image

PIXELS_A_POINT = 2      # of `gcig.plots.STYLE`, so that pictures are sharp
GROUND = 0x22 / 255     # of the dark theme's pages
TEXT = .87              # what black becomes: near the theme's white, and softer
LUMA = np.array([[.2126], [.7152], [.0722]])    # how light red, green and blue look (ITU-R BT.709)
SOME = 1e-6             # of ink: where there is none, its darkness doesn't matter, but may not be 0/0
PICTURE = re.compile(r'<img\b[^>]*?\bsrc="([^"]+\.png|data:image/png;base64,[^"]+)"[^>]*>')
EMBEDDED = "data:image/png;base64,"


def stored(source, folder):
    "The bytes of a PNG that lies in a page or beside it"
    if source.startswith(EMBEDDED): return base64.b64decode(source.removeprefix(EMBEDDED))
    return (folder / source).read_bytes()


def for_dark(colours):
    """Colours (..., 3), 0 to 1, drawn on white, as they are to be on a dark ground.

    A pixel is a share of white and the rest ink. The white becomes the ground; black ink becomes light, and
    a colour stays what it is, the darker the lighter, so that a letter has the same colour on any page.
    """
    white = colours.min(-1, keepdims=True)
    share = 1 - white
    ink = colours - white
    darkness = 1 - ink @ LUMA / np.maximum(share, SOME)     # of the ink
    return np.minimum(ink + white*GROUND + TEXT*share*darkness**4, 1)  # **4: letters change little


def twin(png):
    "A PNG as it is to be on dark pages"
    colours = np.asarray(Image.open(BytesIO(png)).convert("RGB")) / 255
    made = BytesIO()
    Image.fromarray((for_dark(colours)*255).round().astype(np.uint8)).save(made, format="PNG", optimize=True)
    return made.getvalue()


def marked(tag, name):
    "The tag of a picture with one more class"
    if ' class="' in tag: return tag.replace(' class="', f' class="{name} ', 1)
    return tag.replace("<img", f'<img class="{name}"', 1)


def with_twin(tag, source, png, folder):
    "The tags of a picture and of its twin, one of which the style sheet shows"
    if source.startswith(EMBEDDED): other = EMBEDDED + base64.b64encode(twin(png)).decode()
    else:
        other = source.removesuffix(".png") + "-dark.png"
        (folder / other).write_bytes(twin(png))
    return marked(tag, "on-light") + marked(tag.replace(source, other), "on-dark")


def prepared(html, folder):
    "A page whose pictures have a size, and a twin unless they are heatmaps, whose white means zero"
    def prepare(match):
        tag, source = match[0], match[1]
        png = stored(source, folder)
        width, height = (pixels // PIXELS_A_POINT for pixels in Image.open(BytesIO(png)).size)
        if " width=" not in tag: tag = tag.replace("<img", f'<img width="{width}" height="{height}"', 1)
        return tag if "eatmap" in tag.replace(source, "") else with_twin(tag, source, png, folder)
    return PICTURE.sub(prepare, html)
