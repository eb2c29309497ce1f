"""The style sheet: text and marks can be told from their ground, in both themes (WCAG 2.2, AA)."""

import re

import pytest

TEXT = ["text", "muted", "link", "paper"]
MARKS = ["accent", "tied", "other", "paper", "floor", "strong-rule", "focus"]


def themes(css):
    blocks = re.findall(r"(:root[^{]*)\{([^}]*)\}", css)
    found = {}
    for selector, body in blocks:
        found[selector.strip()] = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", body))
    return found


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_measured_as_the_standard_does():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.01)


def test_colours_are_told_from_their_ground(site):
    found = themes(site.pages["html/style.css"].decode())
    assert len(found) == 3
    for selector, colours in found.items():
        for ground in (colours["page"], colours["panel"]):
            for name in TEXT:
                assert contrast(colours[name], ground) >= 4.5, (selector, name)
            for name in MARKS:
                assert contrast(colours[name], ground) >= 3, (selector, name)


def test_both_ways_to_the_dark_theme_are_the_same(site):
    found = themes(site.pages["html/style.css"].decode())
    dark = [colours for selector, colours in found.items() if "theme" in selector]
    assert len(dark) == 2
    assert dark[0] == dark[1]
    assert set(dark[0]) == set(found[":root"])
