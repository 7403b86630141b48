"""RoIAlign.pytorch's import path of this class: `from roi_align.roi_align import RoIAlign`.

`roi_align.roi_align` itself is the function.
"""

from roi_align._cropping.modules import RoIAlign

__all__ = ["RoIAlign"]
