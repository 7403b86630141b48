"""An emulator of compiled CUDA kernels: runs nvcc's output without a GPU, instruction by instruction.

    library.py      the kernels and their host code, compiled by nvcc and linked with runtime.cpp, which needs no GPU
    emulator.py     runs a call of a driver: launches come here from the host code, with its own grid and arguments
    program.py      reads PTX; flow.py: instructions, basic blocks, and where diverging paths meet again
    code.py         prepares a kernel: each instruction becomes a function of a warp (arithmetic.py, comparisons.py,
                    bits.py, accesses.py, collective.py), each operand a place in its list of registers (registers.py)
    block.py        runs a block warp by warp; warp.py runs 32 lanes that diverge and reconverge
    allocations.py  a call's arrays, kept apart; memory.py: bounds, alignment, initialised bytes; shared.py: shared
                    memory and races
    counts.py       instructions, sectors, wavefronts: the costs that determine a GPU's time

It emulates PTX, not the machine code that ptxas generates: the same operations with the same roundings, but other
registers and another order. There is no timing and no cache, and blocks run one after another.
"""
