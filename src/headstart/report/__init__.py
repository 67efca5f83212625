"""The report: one page that draws what runs and studies left behind. No torch."""
