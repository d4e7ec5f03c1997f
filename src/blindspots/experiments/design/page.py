def page(run): 
    from blindspots.report.experiment import Page
    return Page("Designs","x")
