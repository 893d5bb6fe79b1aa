"""What coarse-to-fine labels teach 3D networks about knee osteoarthritis.

Modules, from the ground up (each imports only from those before it):

``errors``, ``hierarchy``, ``profile``, ``provenance``; ``cohort``, ``check``,
``volumes``, ``cache``; ``readers``, ``grades``, ``subjects``; ``bones``, ``anatomy``, ``dess``,
``knee``, ``phantom``; ``scan_torch``, ``scan_numba``, ``scan_triton``, ``selective_scan``;
``resnet3d``, ``m3t``, ``nnmamba``, ``model``, ``attention``, ``gradients``; ``train``, ``runs``;
``predictions``, ``metrics``, ``seeds``, ``compare``, ``severity``; ``published``, ``fetch``,
``references``; ``morphometry``, ``facts``, ``baseline``; ``figures``, ``figures_compare``,
``drawing``, ``diagrams``, ``display``; ``deviations``, ``performance``.
"""

__version__ = "0.1.0"
