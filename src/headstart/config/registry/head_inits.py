"""The initializations of the head, by name.

Nothing here needs torch: they are import paths of a `models.heads.HeadInitializer`.
"""

DEFAULT_HEAD_INIT = "kaiming"
HEAD_INITS = {
    "torch": "headstart.models.heads:draw_uniform",
    DEFAULT_HEAD_INIT: "headstart.models.heads:draw_kaiming",
    "normal": "headstart.models.heads:draw_normal",
    "zero": "headstart.models.heads:draw_zero",
}
