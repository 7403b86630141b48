"""An emulator of compiled CUDA kernels: what nvcc makes of them is run without a GPU, instruction by instruction.

    library.py      the kernels and their host code, compiled by nvcc and linked with runtime.cpp, which knows no GPU
    emulator.py     runs a call of a driver: launches come here from the host code, with its own grid and arguments
    program.py      reads PTX; flow.py has its instructions, basic blocks and where ways meet again
    code.py         makes a kernel ready: each instruction a function of a warp (arithmetic.py, comparisons.py, bits.py,
                    accesses.py, collective.py), each operand a place in its list of registers (registers.py)
    block.py        runs a block warp by warp; warp.py runs 32 lanes that part and meet
    memory.py       allocations, their bounds, alignment, and what has been written; shared.py: shared memory and races
    counts.py       instructions, sectors, wavefronts: what a GPU's time follows

What is emulated is PTX, not the machine code that ptxas makes of it: the same operations in the same roundings, with
other registers and in another order. There is no time, there are no caches, and blocks run one after another.
"""
