"""Costs are read from programs: products from traced ones, collectives from the text of compiled ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.plan.costs import Traffic, collectives, product_flops

HLO = """\
HloModule step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%wrapped (p: bf16[8]) -> bf16[64] {
  ROOT %g = bf16[64]{0:T(8,128)(2,1)} all-gather(%p), replica_groups=[1,8]<=[8], dimensions={0}
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %r = (f32[4]{0}, /*index=1*/f32[2,3]{1,0}) all-reduce(%a, %b), replica_groups={{0,1}}, to_apply=%add
  ROOT %next = (s32[], f32[4]) tuple(%i, %r)
}

%cheap (t: f32[4]) -> f32[4] {
  ROOT %same = f32[4] copy(%t)
}

%dear (t: f32[4]) -> f32[4] {
  ROOT %moved = f32[4] collective-permute(%t), source_target_pairs={{0,1},{1,0}}
}

ENTRY %main (p: bf16[8]) -> f32[4] {
  %s = ((bf16[8]), bf16[64]) async-start(%p), calls=%wrapped
  %d = bf16[64] async-done(%s), calls=%wrapped
  %gs = (pred[4]{0}, pred[32]{0:S(1)}) all-gather-start(%q), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %gd = pred[32]{0} all-gather-done(%gs)
  %ts = ((f32[1]{0}, s4[3]), (f32[8]{0}, s4[24])) all-gather-start(%a, %b), replica_groups=[1,8]<=[8], dimensions={0}
  %td = (f32[8]{0}, s4[24]) all-gather-done(%ts)
  %rs = (f32[2]{0}, f32[3]{0}) all-reduce-start(%m, %n), replica_groups={{0,1}}, to_apply=%add
  %rd = (f32[2]{0}, f32[3]{0}) all-reduce-done(%rs)
  %alone = f32[100] all-reduce(%z), replica_groups={{0},{1}}, to_apply=%add
  %alone.1 = f32[100] all-reduce(%z), replica_groups=[2,1]<=[2], to_apply=%add
  %w = (s32[], f32[4]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %choice = f32[4] conditional(%i, %u, %u), branch_computations={%cheap, %dear}
}
"""


def test_collectives_in_the_text_of_a_program():
    found = collectives(HLO)
    assert found == {
        "all-gather": Traffic(2 * 64 + 32 + 4 * 8 + 24 // 2, 3),
        "all-reduce": Traffic(5 * (16 + 24) + 8 + 12, 6),
    }
    assert collectives(HLO, costliest=True) == found | {"collective-permute": Traffic(16, 1)}
    with pytest.raises(ValueError, match="no known length"):
        collectives(HLO.replace("known_trip_count", "unknown"))


IN_PARTS = """HloModule jit_step

%part (p: f32[16,8]) -> f32[128,8] {
  ROOT %g = f32[128,8] all-gather(%p), channel_id=5, replica_groups={{0,1}}, frontend_attributes={chain_id="0"}
}

%other_part (p: f32[16,8]) -> f32[128,8] {
  ROOT %g = f32[128,8] all-gather(%p), channel_id=5, replica_groups={{0,1}}, frontend_attributes={chain_id="0"}
}

%body (x: f32[128,8]) -> f32[128,8] {
  ROOT %f = f32[128,8] fusion(%x), kind=kOutput, calls=%other_part
}

ENTRY %main (p: f32[16,8]) -> f32[128,8] {
  %f = f32[128,8] fusion(%p), kind=kOutput, calls=%part
  %h = f32[128,8] all-gather(%p), channel_id=6, replica_groups={{0,1}}, frontend_attributes={chain_id="0"}
  ROOT %w = f32[128,8] while(%f), condition=%c, body=%body
}
"""


def test_a_collective_that_is_done_in_parts_beside_other_work_counts_once():
    """Some of its parts are in a loop that ends when it has converged, as one of a singular value decomposition."""
    assert collectives(IN_PARTS) == {"all-gather": Traffic(2 * 4 * 128 * 8, 2)}
    with pytest.raises(ValueError, match="no known length"):
        collectives(IN_PARTS.replace(', frontend_attributes={chain_id="0"}', ""))


def test_products_of_a_program():
    """Of a convolution only what meets pixels: of three places the outer two see two of three."""
    image, kernel = np.zeros((2, 3, 5)), np.zeros((3, 5, 7))

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
        )

    assert product_flops(jax.jit(convolve), image, kernel) == 2 * 2 * 5 * 7 * (2 + 3 + 2)
    assert product_flops(lambda x: jnp.einsum("bij,bkj->bik", x, x), np.zeros((4, 2, 3))) == 2 * 4 * 2 * 2 * 3


def test_products_in_loops_and_conditions():
    def square(x):
        return x @ x

    def four_times(x):
        return jax.lax.scan(lambda x, _: (square(x), None), x, length=4)[0]

    def whether_large(x):
        return jax.lax.cond(x[0, 0] > 0, four_times, square, x)

    def while_small(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 1, square, x)

    x = np.zeros((2, 2))
    assert product_flops(four_times, x) == 4 * product_flops(square, x) == 4 * 2 * 2**3
    assert product_flops(whether_large, x) == product_flops(four_times, x)
    with pytest.raises(ValueError, match="inside of a while loop"):
        product_flops(while_small, x)
