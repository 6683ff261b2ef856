"""Line plots as SVG, without a plotting library."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 70, 50, 40
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def line_plot(title: str, x_labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str) -> str:
    """An SVG with one line per series over common labels. Its axis goes from zero to the largest value."""
    top = max(max(values) for values in series.values()) * 1.05 or 1.0
    step = (WIDTH - LEFT - 20) / max(1, len(x_labels) - 1)

    def point(index: int, value: float) -> tuple[float, float]:
        return LEFT + index * step, HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for quarter in range(5):
        value = top * quarter / 4
        y = point(0, value)[1]
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 20}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0f} {unit}</text>')
    for index, label in enumerate(x_labels):
        x = point(index, 0)[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (point(i, value) for i, value in enumerate(values)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + 180 * number}" y="{HEIGHT - 8}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
