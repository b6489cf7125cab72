"""A policy as C99: one function, no allocation, no library, the same arithmetic as the ONNX graph.

Weights are written as hexadecimal floats, so that nothing is rounded on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from deployment.bundle.golden import Golden
from signals.inputs import InputTable
from signals.observations import LIMIT

MASKED = -1e9
"""The score of a phase that may not be chosen."""
SELF_TESTS = 8
Weights = Mapping[str, npt.NDArray[np.float32]]

HEADER = """/* Policy for traffic signal {about}, by intergreen. Generated: change the policy, not this file. */
#ifndef INTERGREEN_POLICY_H
#define INTERGREEN_POLICY_H

#define POLICY_INPUTS {inputs}
#define POLICY_PHASES {phases}

/* The phase to show next, 0 to POLICY_PHASES - 1, or -1 where it refuses: an input or a score is not finite, or no
 * phase may be chosen. input: physical units, in the order of observation.json. scores: greater is better, {masked:g}
 * for a phase that may not be chosen. Keeps no state; may be called from several threads. */
int policy_decide(const float input[POLICY_INPUTS], float scores[POLICY_PHASES]);

#endif
"""

SOURCE = """/* Policy for traffic signal {about}, by intergreen. Generated: change the policy, not this file.
 *
 * C99 without any library. Constants: {constant_bytes} bytes. Stack: {stack_bytes} bytes and the frame.
 * Worst case of a call, which every call comes close to, since no loop depends on its input:
 * {multiply_adds} multiply-adds, {others} further additions, multiplications and comparisons of numbers.
 * Compile without -ffast-math: it takes numbers that are not finite for impossible. */
#include "policy.h"

#include <float.h>

#ifdef __FAST_MATH__
#error "compile policy.c without -ffast-math: it must notice numbers that are not finite"
#endif

enum {{ PHASES = {phases}, MOVEMENTS = {movements}, PHASE_WIDTH = {phase_width}, MOVEMENT_WIDTH = {movement_width} }};
enum {{ UNITS = {units}, ROW = {row}, SERVICE_AT = {service_at}, MOVEMENTS_AT = {movements_at}, SELECTABLE_AT = 1 }};

{tables}

static int is_finite(float value)
{{
    return value >= -FLT_MAX && value <= FLT_MAX;
}}

static float product(const float *a, const float *b, int size)
{{
    float sum = 0.0f;
    int n;
    for (n = 0; n < size; n++) {{
        sum += a[n] * b[n];
    }}
    return sum;
}}

static float positive(float value)
{{
    return value > 0.0f ? value : 0.0f;
}}

int policy_decide(const float input[POLICY_INPUTS], float scores[POLICY_PHASES])
{{
    float row[ROW], moving[MOVEMENTS][UNITS], phase[PHASE_WIDTH + UNITS], encoded[PHASES][UNITS];
    float mean[UNITS], shared[UNITS], hidden[UNITS];
    double best = 0.0;
    int n, p, k, u, chosen = -1, sound = 1;

    for (p = 0; p < PHASES; p++) {{
        scores[p] = MASKED;
    }}
    for (n = 0; n < ROW; n++) {{
        row[n] = constant[n];
    }}
    for (n = 0; n < POLICY_INPUTS; n++) {{
        const float scaled = input[n] * factor[n];
        if (!is_finite(input[n])) {{
            return -1;
        }}
        row[place[n]] = scaled > LIMIT ? LIMIT : positive(scaled);
    }}
    for (k = 0; k < MOVEMENTS; k++) {{
        const float *features = row + MOVEMENTS_AT + k * MOVEMENT_WIDTH;
        for (u = 0; u < UNITS; u++) {{
            moving[k][u] = positive(product(features, movement_weight[u], MOVEMENT_WIDTH) + movement_bias[u]);
        }}
    }}
    for (u = 0; u < UNITS; u++) {{
        mean[u] = 0.0f;
    }}
    for (p = 0; p < PHASES; p++) {{
        for (n = 0; n < PHASE_WIDTH; n++) {{
            phase[n] = row[p * PHASE_WIDTH + n];
        }}
        for (u = 0; u < UNITS; u++) {{
            float served = 0.0f;
            for (k = 0; k < MOVEMENTS; k++) {{
                served += row[SERVICE_AT + p * MOVEMENTS + k] * moving[k][u];
            }}
            phase[PHASE_WIDTH + u] = served;
        }}
        for (u = 0; u < UNITS; u++) {{
            encoded[p][u] = positive(product(phase, phase_weight[u], PHASE_WIDTH + UNITS) + phase_bias[u]);
            mean[u] += encoded[p][u] / (float)PHASES;
        }}
    }}
    for (u = 0; u < UNITS; u++) {{
        shared[u] = product(mean, mean_weight[u], UNITS) + hidden_bias[u];
    }}
    for (p = 0; p < PHASES; p++) {{
        float score;
        for (u = 0; u < UNITS; u++) {{
            hidden[u] = positive(product(encoded[p], own_weight[u], UNITS) + shared[u]);
        }}
        score = product(hidden, score_weight, UNITS) + score_bias;
        sound = sound && is_finite(score);
        if (row[p * PHASE_WIDTH + SELECTABLE_AT] > 0.5f) {{
            const double favoured = (double)score + 1e-9 * (double)input[current[p]]; /* it wins ties */
            scores[p] = score;
            if (chosen < 0 || favoured > best) {{
                best = favoured;
                chosen = p;
            }}
        }}
    }}
    return sound ? chosen : -1;
}}

#ifdef POLICY_SELF_TEST
/* cc -std=c99 -O2 -DPOLICY_SELF_TEST policy.c -o policy && ./policy: golden inputs, refusals, time. */
#include <stdio.h>
#include <time.h>

{golden}

int main(void)
{{
    enum {{ BATCHES = 200, CALLS = 100 }};
    float scores[POLICY_PHASES], broken[POLICY_INPUTS];
    const float zero = golden_inputs[0][0] * 0.0f;
    double worst = 0.0, total = 0.0;
    int g, n, right = 0, refused = 0;

    for (g = 0; g < GOLDEN; g++) {{
        right += policy_decide(golden_inputs[g], scores) == golden_phases[g];
    }}
    for (n = 0; n < POLICY_INPUTS; n++) {{
        broken[n] = golden_inputs[0][n];
    }}
    for (n = 0; n < POLICY_INPUTS; n++) {{
        broken[n] = zero / zero;
        refused += policy_decide(broken, scores) == -1;
        broken[n] = 1.0f / zero;
        refused += policy_decide(broken, scores) == -1;
        broken[n] = golden_inputs[0][n];
    }}
    for (n = 0; n < BATCHES; n++) {{
        const clock_t begun = clock();
        double spent;
        for (g = 0; g < CALLS; g++) {{
            refused += policy_decide(golden_inputs[g % GOLDEN], scores) < 0 ? 1 : 0;
        }}
        spent = (double)(clock() - begun) * 1e6 / CLOCKS_PER_SEC / CALLS;
        total += spent / BATCHES;
        worst = spent > worst ? spent : worst;
    }}
    printf("golden %d of %d\\nrefused %d of %d\\n", right, (int)GOLDEN, refused, 2 * POLICY_INPUTS);
    printf("microseconds %.2f mean, %.2f in the slowest %d calls\\n", total, worst, (int)CALLS);
    return right == GOLDEN && refused == 2 * POLICY_INPUTS ? 0 : 1;
}}
#endif
"""


def policy_source(weights: Weights, table: InputTable, golden: Golden) -> dict[str, bytes]:
    """policy.c and policy.h."""
    shape, size = table.shape, len(table)
    units = weights["movement_bias"].shape[0]
    service_at = shape.phases * shape.phase_features
    movements_at = service_at + shape.phases * shape.movements
    numbers = {
        "factor": table.factors,
        "constant": table.constant,
        "movement_weight": weights["movement_weight"],
        "movement_bias": weights["movement_bias"],
        "phase_weight": weights["phase_weight"],
        "phase_bias": weights["phase_bias"],
        "own_weight": weights["own_weight"],
        "mean_weight": weights["mean_weight"],
        "hidden_bias": weights["hidden_bias"],
        "score_weight": weights["score_weight"].ravel(),
    }
    tables = [f"static const float MASKED = {_hex(MASKED)}, LIMIT = {_hex(LIMIT)};"]
    tables.append(f"static const float score_bias = {_hex(weights['score_bias'].item())};")
    tables += [_array(f"static const float {name}", values) for name, values in numbers.items()]
    tables.append(_array("static const unsigned short place", table.elements))
    tables.append(_array("static const unsigned short current", table.current))
    chosen = np.linspace(0, len(golden.phases) - 1, SELF_TESTS).astype(int)
    tests = [
        f"enum {{ GOLDEN = {SELF_TESTS} }};",
        _array("static const float golden_inputs", golden.inputs[chosen]),
        _array("static const int golden_phases", golden.phases[chosen]),
    ]
    counted = operations(table, units)
    filled: dict[str, Any] = {
        "about": _comment(table.layout.tls_ids[0]),
        "constant_bytes": 4 * (sum(v.size for v in numbers.values()) + 3) + 2 * (size + shape.phases),
        "stack_bytes": stack_bytes(table, units),
        "multiply_adds": counted[0],
        "others": counted[1],
        "phases": shape.phases,
        "movements": shape.movements,
        "phase_width": shape.phase_features,
        "movement_width": shape.movement_features,
        "units": units,
        "row": shape.size,
        "service_at": service_at,
        "movements_at": movements_at,
        "tables": "\n".join(tables),
        "golden": "\n".join(tests),
    }
    header = HEADER.format(about=filled["about"], inputs=size, phases=shape.phases, masked=MASKED)
    return {"policy.c": SOURCE.format(**filled).encode("ascii"), "policy.h": header.encode("ascii")}


def operations(table: InputTable, units: int) -> tuple[int, int]:
    """Most multiply-adds, and most further operations on numbers, that one call takes."""
    p, k = table.shape.phases, table.shape.movements
    f, g, u = table.shape.phase_features, table.shape.movement_features, units
    multiply_adds = k * g * u + p * k * u + p * (f + u) * u + u * u + p * u * u + p * u
    # scaling and limits; biases, rectifiers and the mean; then per score its bias, tests and comparisons
    others = len(table) * 5 + 2 * k * u + 4 * p * u + u + 2 * p * u + p * 7
    return multiply_adds, others


def stack_bytes(table: InputTable, units: int) -> int:
    """Size of the arrays that a call holds on the stack [bytes]."""
    shape = table.shape
    floats = shape.size + shape.movements * units + shape.phase_features + units + shape.phases * units + 3 * units
    return 4 * floats


def _array(declaration: str, values: npt.NDArray[Any]) -> str:
    size = "".join(f"[{n}]" for n in values.shape)
    return f"{declaration}{size} = {_braces(values)};"


def _braces(values: npt.NDArray[Any]) -> str:
    if values.ndim > 1:
        return "{\n" + ",\n".join(_braces(row) for row in values) + "\n}"
    write = _hex if values.dtype.kind == "f" else str
    return "{\n    " + ",\n    ".join(_lines(write(value) for value in values.tolist())) + "\n}"


def _lines(words: Iterable[str]) -> list[str]:
    """Words, joined by commas into lines of a readable width."""
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) > 110:
            lines.append(line)
            line = word
        else:
            line = f"{line}, {word}" if line else word
    return [*lines, line]


def _hex(value: float) -> str:
    """A C99 constant of exactly this single-precision value."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    return re.sub(r"\.?0+$", "", mantissa) + f"p{exponent}f" if "." in mantissa else f"{mantissa}p{exponent}f"


def _comment(text: str) -> str:
    """Text that cannot end a comment."""
    return re.sub(r"[^A-Za-z0-9_.:#-]", "_", text)[:60]
